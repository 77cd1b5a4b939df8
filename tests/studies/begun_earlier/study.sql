BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE mmtuna_contact (
	study_id INTEGER NOT NULL, 
	since DOUBLE NOT NULL, 
	last DOUBLE NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "mmtuna_contact" VALUES(1,1.79564442588301157949e+09,1.79564442588301157949e+09);
INSERT INTO "mmtuna_contact" VALUES(2,1.79564442924199557305e+09,1.79564442924199557305e+09);
CREATE TABLE mmtuna_leases (
	trial_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	token VARCHAR(32) NOT NULL, 
	worker VARCHAR(255) NOT NULL, 
	attempt INTEGER NOT NULL, 
	seconds DOUBLE NOT NULL, 
	expires DOUBLE NOT NULL, 
	PRIMARY KEY (trial_id)
);
CREATE TABLE mmtuna_workers (
	worker VARCHAR(255) NOT NULL, 
	study_id INTEGER NOT NULL, 
	slots INTEGER NOT NULL, 
	started DOUBLE NOT NULL, 
	seconds DOUBLE NOT NULL, 
	expires DOUBLE NOT NULL, 
	PRIMARY KEY (worker)
);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'begun');
INSERT INTO "studies" VALUES(2,'paper');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MAXIMIZE',2,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'mmtuna:spec','{"metric": {"name": "mIoU", "value": "last"}, "space": {"batch_size": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [2, 4, 8]}}", "when": {}}, "crop": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"none\", 192, 224, 288, 320]}}", "when": {}}, "decoder": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"fcn\", \"pspnet\", \"deeplabv3\"]}}", "when": {}}, "flip": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"none\", \"horizontal\", \"vertical\", \"both\"]}}", "when": {}}, "foreground_weight": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 1.0, \"high\": 50.0, \"log\": true}}", "when": {"loss": ["cross_entropy", "ce_dice", "ce_tversky", "ce_lovasz"]}}, "initial_weights": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"pretrained\", \"none\"]}}", "when": {}}, "input_size": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [320, 384, 512]}}", "when": {}}, "iterations": {"distribution": "{\"name\": \"IntDistribution\", \"attributes\": {\"log\": false, \"step\": 200, \"low\": 200, \"high\": 1600}}", "when": {}}, "loss": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"cross_entropy\", \"dice\", \"focal\", \"ce_dice\", \"ce_tversky\", \"lovasz\", \"ce_lovasz\"]}}", "when": {}}, "lr_adam": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 1e-05, \"high\": 0.01, \"log\": true}}", "when": {"optimizer": ["Adam", "AdamW"]}}, "lr_sgd": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 0.001, \"high\": 0.1, \"log\": true}}", "when": {"optimizer": ["SGD"]}}, "mix_weight": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 0.25, \"high\": 4.0, \"log\": true}}", "when": {"loss": ["ce_dice", "ce_tversky", "ce_lovasz"]}}, "optimizer": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"SGD\", \"Adam\", \"AdamW\"]}}", "when": {}}, "photometric": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [false, true]}}", "when": {}}, "rotation": {"distribution": "{\"name\": \"IntDistribution\", \"attributes\": {\"log\": false, \"step\": 5, \"low\": 0, \"high\": 30}}", "when": {}}, "schedule": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"poly_40k\", \"poly\", \"cosine\"]}}", "when": {}}, "weight_decay": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 1e-06, \"high\": 0.01, \"log\": true}}", "when": {}}}, "train": {}, "model": {"base": "unet", "pretrained": "auto"}, "data": {"classes": ["background", "fluid"], "ignore_index": 255}, "split": {"kind": "lists", "train": "splits/train.txt", "val": "splits/val.txt"}}');
INSERT INTO "study_user_attributes" VALUES(2,1,'mmtuna:fingerprints','{"data": {"classes": ["background", "fluid"], "ignore_index": 255}, "metric": {"name": "mIoU", "value": "last"}, "model": {"base": "unet", "pretrained": "auto"}, "replay": {"curves": "generated"}, "space": {"batch_size": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [2, 4, 8]}}", "when": {}}, "crop": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"none\", 192, 224, 288, 320]}}", "when": {}}, "decoder": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"fcn\", \"pspnet\", \"deeplabv3\"]}}", "when": {}}, "flip": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"none\", \"horizontal\", \"vertical\", \"both\"]}}", "when": {}}, "foreground_weight": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 1.0, \"high\": 50.0, \"log\": true}}", "when": {"loss": ["cross_entropy", "ce_dice", "ce_tversky", "ce_lovasz"]}}, "initial_weights": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"pretrained\", \"none\"]}}", "when": {}}, "input_size": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [320, 384, 512]}}", "when": {}}, "iterations": {"distribution": "{\"name\": \"IntDistribution\", \"attributes\": {\"log\": false, \"step\": 200, \"low\": 200, \"high\": 1600}}", "when": {}}, "loss": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"cross_entropy\", \"dice\", \"focal\", \"ce_dice\", \"ce_tversky\", \"lovasz\", \"ce_lovasz\"]}}", "when": {}}, "lr_adam": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 1e-05, \"high\": 0.01, \"log\": true}}", "when": {"optimizer": ["Adam", "AdamW"]}}, "lr_sgd": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 0.001, \"high\": 0.1, \"log\": true}}", "when": {"optimizer": ["SGD"]}}, "mix_weight": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 0.25, \"high\": 4.0, \"log\": true}}", "when": {"loss": ["ce_dice", "ce_tversky", "ce_lovasz"]}}, "optimizer": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"SGD\", \"Adam\", \"AdamW\"]}}", "when": {}}, "photometric": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [false, true]}}", "when": {}}, "rotation": {"distribution": "{\"name\": \"IntDistribution\", \"attributes\": {\"log\": false, \"step\": 5, \"low\": 0, \"high\": 30}}", "when": {}}, "schedule": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"poly_40k\", \"poly\", \"cosine\"]}}", "when": {}}, "weight_decay": {"distribution": "{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 1e-06, \"high\": 0.01, \"log\": true}}", "when": {}}}, "split": {"kind": "lists", "train": "splits/train.txt", "val": "splits/val.txt"}, "train": {}}');
INSERT INTO "study_user_attributes" VALUES(3,1,'mmtuna:workers','1');
INSERT INTO "study_user_attributes" VALUES(4,2,'mmtuna:spec','{"metric": {"name": "mIoU", "value": "last"}, "space": {"decoder": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"fcn\", \"pspnet\", \"deeplabv3\"]}}", "when": {}}, "flip": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"none\", \"horizontal\"]}}", "when": {}}, "iterations": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [200, 400]}}", "when": {}}, "loss": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"cross_entropy\", \"dice\", \"focal\"]}}", "when": {}}, "optimizer": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"SGD\", \"Adam\"]}}", "when": {}}, "weight_decay": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [0.0001, 0.0005, 0.001]}}", "when": {}}}, "train": {"crop": 192}, "model": {"base": "unet", "pretrained": "auto"}, "data": {"classes": ["background", "fluid"], "ignore_index": 255}, "split": {"kind": "lists", "train": "splits/train.txt", "val": "splits/val.txt"}}');
INSERT INTO "study_user_attributes" VALUES(5,2,'mmtuna:fingerprints','{"data": {"classes": ["background", "fluid"], "ignore_index": 255}, "metric": {"name": "mIoU", "value": "last"}, "model": {"base": "unet", "pretrained": "auto"}, "replay": {"curves": "generated"}, "space": {"decoder": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"fcn\", \"pspnet\", \"deeplabv3\"]}}", "when": {}}, "flip": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"none\", \"horizontal\"]}}", "when": {}}, "iterations": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [200, 400]}}", "when": {}}, "loss": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"cross_entropy\", \"dice\", \"focal\"]}}", "when": {}}, "optimizer": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [\"SGD\", \"Adam\"]}}", "when": {}}, "weight_decay": {"distribution": "{\"name\": \"CategoricalDistribution\", \"attributes\": {\"choices\": [0.0001, 0.0005, 0.001]}}", "when": {}}}, "split": {"kind": "lists", "train": "splits/train.txt", "val": "splits/val.txt"}, "train": {"crop": 192}}');
INSERT INTO "study_user_attributes" VALUES(6,2,'mmtuna:workers','1');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,20,3.69433855156729495927e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,40,5.38101586945960885799e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,60,5.98226764709038127953e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,1,80,6.3385832607314163134e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,1,100,6.31900562434982271398e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,2,20,3.74042435202960876772e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,2,40,0.543577616597912,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,2,60,6.27529622951274568265e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,2,80,6.75834782026244584862e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,2,100,7.02901218592899335035e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,3,20,3.69504915571873648882e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,3,40,5.47525891440956757882e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,3,60,6.22525106881298806449e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,3,80,6.82811215528813075792e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(15,3,100,6.64473420762144328932e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(16,4,20,3.92458899612851408456e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(17,4,40,5.54940933824545790109e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(18,4,60,6.59735763150874787719e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(19,4,80,6.94244686483807882382e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(20,4,100,6.98417213866202590821e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(21,5,20,3.80746322792798908007e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(22,5,40,5.44286002562023196738e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(23,5,60,6.26699187171201543833e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(24,5,80,6.55624824065954681096e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(25,5,100,6.69441559400678065649e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(26,6,20,3.62285609695270571783e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(27,6,40,5.4849555937961524954e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(28,6,60,6.39348678524217173269e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(29,6,80,6.65236220738228412052e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(30,6,100,6.68866697456691916556e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(31,7,20,0.395490315962137,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(32,7,40,6.20075434363550392902e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(33,7,60,7.11927586230057918292e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(34,7,80,0.745286083288713,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(35,7,100,7.54165211645855149136e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'decoder',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fcn", "pspnet", "deeplabv3"]}}');
INSERT INTO "trial_params" VALUES(2,1,'input_size',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [320, 384, 512]}}');
INSERT INTO "trial_params" VALUES(3,1,'crop',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", 192, 224, 288, 320]}}');
INSERT INTO "trial_params" VALUES(4,1,'flip',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "horizontal", "vertical", "both"]}}');
INSERT INTO "trial_params" VALUES(5,1,'rotation',15.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 5, "low": 0, "high": 30}}');
INSERT INTO "trial_params" VALUES(6,1,'photometric',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(7,1,'loss',5.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "dice", "focal", "ce_dice", "ce_tversky", "lovasz", "ce_lovasz"]}}');
INSERT INTO "trial_params" VALUES(8,1,'optimizer',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["SGD", "Adam", "AdamW"]}}');
INSERT INTO "trial_params" VALUES(9,1,'weight_decay',1.63471270070409260624e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(10,1,'schedule',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["poly_40k", "poly", "cosine"]}}');
INSERT INTO "trial_params" VALUES(11,1,'batch_size',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4, 8]}}');
INSERT INTO "trial_params" VALUES(12,1,'iterations',1600.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 200, "low": 200, "high": 1600}}');
INSERT INTO "trial_params" VALUES(13,1,'initial_weights',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["pretrained", "none"]}}');
INSERT INTO "trial_params" VALUES(14,1,'lr_adam',3.43002877433656568409e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(15,2,'decoder',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fcn", "pspnet", "deeplabv3"]}}');
INSERT INTO "trial_params" VALUES(16,2,'input_size',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [320, 384, 512]}}');
INSERT INTO "trial_params" VALUES(17,2,'crop',3.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", 192, 224, 288, 320]}}');
INSERT INTO "trial_params" VALUES(18,2,'flip',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "horizontal", "vertical", "both"]}}');
INSERT INTO "trial_params" VALUES(19,2,'rotation',30.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 5, "low": 0, "high": 30}}');
INSERT INTO "trial_params" VALUES(20,2,'photometric',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(21,2,'loss',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "dice", "focal", "ce_dice", "ce_tversky", "lovasz", "ce_lovasz"]}}');
INSERT INTO "trial_params" VALUES(22,2,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["SGD", "Adam", "AdamW"]}}');
INSERT INTO "trial_params" VALUES(23,2,'weight_decay',2.61277515561660555413e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(24,2,'schedule',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["poly_40k", "poly", "cosine"]}}');
INSERT INTO "trial_params" VALUES(25,2,'batch_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4, 8]}}');
INSERT INTO "trial_params" VALUES(26,2,'iterations',1200.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 200, "low": 200, "high": 1600}}');
INSERT INTO "trial_params" VALUES(27,2,'initial_weights',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["pretrained", "none"]}}');
INSERT INTO "trial_params" VALUES(28,2,'foreground_weight',22.3710316732627,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1.0, "high": 50.0, "log": true}}');
INSERT INTO "trial_params" VALUES(29,2,'lr_adam',1.69360096006656066875e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(30,3,'decoder',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fcn", "pspnet", "deeplabv3"]}}');
INSERT INTO "trial_params" VALUES(31,3,'input_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [320, 384, 512]}}');
INSERT INTO "trial_params" VALUES(32,3,'crop',4.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", 192, 224, 288, 320]}}');
INSERT INTO "trial_params" VALUES(33,3,'flip',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "horizontal", "vertical", "both"]}}');
INSERT INTO "trial_params" VALUES(34,3,'rotation',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 5, "low": 0, "high": 30}}');
INSERT INTO "trial_params" VALUES(35,3,'photometric',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(36,3,'loss',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "dice", "focal", "ce_dice", "ce_tversky", "lovasz", "ce_lovasz"]}}');
INSERT INTO "trial_params" VALUES(37,3,'optimizer',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["SGD", "Adam", "AdamW"]}}');
INSERT INTO "trial_params" VALUES(38,3,'weight_decay',2.24889988666951293541e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(39,3,'schedule',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["poly_40k", "poly", "cosine"]}}');
INSERT INTO "trial_params" VALUES(40,3,'batch_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4, 8]}}');
INSERT INTO "trial_params" VALUES(41,3,'iterations',1400.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 200, "low": 200, "high": 1600}}');
INSERT INTO "trial_params" VALUES(42,3,'initial_weights',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["pretrained", "none"]}}');
INSERT INTO "trial_params" VALUES(43,3,'lr_adam',3.72670746031510230727e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(44,4,'decoder',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fcn", "pspnet", "deeplabv3"]}}');
INSERT INTO "trial_params" VALUES(45,4,'input_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [320, 384, 512]}}');
INSERT INTO "trial_params" VALUES(46,4,'crop',4.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", 192, 224, 288, 320]}}');
INSERT INTO "trial_params" VALUES(47,4,'flip',3.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "horizontal", "vertical", "both"]}}');
INSERT INTO "trial_params" VALUES(48,4,'rotation',25.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 5, "low": 0, "high": 30}}');
INSERT INTO "trial_params" VALUES(49,4,'photometric',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(50,4,'loss',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "dice", "focal", "ce_dice", "ce_tversky", "lovasz", "ce_lovasz"]}}');
INSERT INTO "trial_params" VALUES(51,4,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["SGD", "Adam", "AdamW"]}}');
INSERT INTO "trial_params" VALUES(52,4,'weight_decay',5.71547328883923880325e-06,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-06, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(53,4,'schedule',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["poly_40k", "poly", "cosine"]}}');
INSERT INTO "trial_params" VALUES(54,4,'batch_size',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4, 8]}}');
INSERT INTO "trial_params" VALUES(55,4,'iterations',400.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 200, "low": 200, "high": 1600}}');
INSERT INTO "trial_params" VALUES(56,4,'initial_weights',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["pretrained", "none"]}}');
INSERT INTO "trial_params" VALUES(57,4,'lr_sgd',2.47642908792832031061e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(58,5,'decoder',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fcn", "pspnet", "deeplabv3"]}}');
INSERT INTO "trial_params" VALUES(59,5,'flip',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "horizontal"]}}');
INSERT INTO "trial_params" VALUES(60,5,'loss',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "dice", "focal"]}}');
INSERT INTO "trial_params" VALUES(61,5,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["SGD", "Adam"]}}');
INSERT INTO "trial_params" VALUES(62,5,'weight_decay',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0001, 0.0005, 0.001]}}');
INSERT INTO "trial_params" VALUES(63,5,'iterations',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [200, 400]}}');
INSERT INTO "trial_params" VALUES(64,6,'decoder',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fcn", "pspnet", "deeplabv3"]}}');
INSERT INTO "trial_params" VALUES(65,6,'flip',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "horizontal"]}}');
INSERT INTO "trial_params" VALUES(66,6,'loss',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "dice", "focal"]}}');
INSERT INTO "trial_params" VALUES(67,6,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["SGD", "Adam"]}}');
INSERT INTO "trial_params" VALUES(68,6,'weight_decay',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0001, 0.0005, 0.001]}}');
INSERT INTO "trial_params" VALUES(69,6,'iterations',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [200, 400]}}');
INSERT INTO "trial_params" VALUES(70,7,'decoder',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["fcn", "pspnet", "deeplabv3"]}}');
INSERT INTO "trial_params" VALUES(71,7,'flip',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "horizontal"]}}');
INSERT INTO "trial_params" VALUES(72,7,'loss',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["cross_entropy", "dice", "focal"]}}');
INSERT INTO "trial_params" VALUES(73,7,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["SGD", "Adam"]}}');
INSERT INTO "trial_params" VALUES(74,7,'weight_decay',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0.0001, 0.0005, 0.001]}}');
INSERT INTO "trial_params" VALUES(75,7,'iterations',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [200, 400]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'replicate','0');
INSERT INTO "trial_user_attributes" VALUES(2,1,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(3,1,'cost','{"seconds": 320.0, "iterations": 1600}');
INSERT INTO "trial_user_attributes" VALUES(4,1,'metrics','{"mIoU": 0.6319005624349823}');
INSERT INTO "trial_user_attributes" VALUES(5,1,'best_metrics','{"mIoU": 0.6338583260731416}');
INSERT INTO "trial_user_attributes" VALUES(6,1,'curve','[{"step": 20, "iteration": 320, "seconds": 64.0, "mIoU": 0.3694338551567295}, {"step": 40, "iteration": 640, "seconds": 128.0, "mIoU": 0.5381015869459609}, {"step": 60, "iteration": 960, "seconds": 192.0, "mIoU": 0.5982267647090381}, {"step": 80, "iteration": 1280, "seconds": 256.0, "mIoU": 0.6338583260731416}, {"step": 100, "iteration": 1600, "seconds": 320.0, "mIoU": 0.6319005624349823}]');
INSERT INTO "trial_user_attributes" VALUES(7,1,'history','[{"worker": "host:13044:b5402394", "attempt": 1, "ended": "complete", "token": "d7b64e0ba3490c1f", "at": 1795644426.04499}]');
INSERT INTO "trial_user_attributes" VALUES(8,2,'replicate','0');
INSERT INTO "trial_user_attributes" VALUES(9,2,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(10,2,'cost','{"seconds": 240.0, "iterations": 1200}');
INSERT INTO "trial_user_attributes" VALUES(11,2,'metrics','{"mIoU": 0.7029012185928993}');
INSERT INTO "trial_user_attributes" VALUES(12,2,'best_metrics','{"mIoU": 0.7029012185928993}');
INSERT INTO "trial_user_attributes" VALUES(13,2,'curve','[{"step": 20, "iteration": 240, "seconds": 48.0, "mIoU": 0.3740424352029609}, {"step": 40, "iteration": 480, "seconds": 96.0, "mIoU": 0.543577616597912}, {"step": 60, "iteration": 720, "seconds": 144.0, "mIoU": 0.6275296229512746}, {"step": 80, "iteration": 960, "seconds": 192.0, "mIoU": 0.6758347820262446}, {"step": 100, "iteration": 1200, "seconds": 240.0, "mIoU": 0.7029012185928993}]');
INSERT INTO "trial_user_attributes" VALUES(14,2,'history','[{"worker": "host:13044:b5402394", "attempt": 1, "ended": "complete", "token": "5fc2fb4083d32de2", "at": 1795644426.211998}]');
INSERT INTO "trial_user_attributes" VALUES(15,3,'replicate','0');
INSERT INTO "trial_user_attributes" VALUES(16,3,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(17,3,'cost','{"seconds": 280.0, "iterations": 1400}');
INSERT INTO "trial_user_attributes" VALUES(18,3,'metrics','{"mIoU": 0.6644734207621443}');
INSERT INTO "trial_user_attributes" VALUES(19,3,'best_metrics','{"mIoU": 0.6828112155288131}');
INSERT INTO "trial_user_attributes" VALUES(20,3,'curve','[{"step": 20, "iteration": 280, "seconds": 56.0, "mIoU": 0.36950491557187365}, {"step": 40, "iteration": 560, "seconds": 112.0, "mIoU": 0.5475258914409568}, {"step": 60, "iteration": 840, "seconds": 168.0, "mIoU": 0.6225251068812988}, {"step": 80, "iteration": 1120, "seconds": 224.0, "mIoU": 0.6828112155288131}, {"step": 100, "iteration": 1400, "seconds": 280.0, "mIoU": 0.6644734207621443}]');
INSERT INTO "trial_user_attributes" VALUES(21,3,'history','[{"worker": "host:13044:b5402394", "attempt": 1, "ended": "complete", "token": "ef0a37718b1137ba", "at": 1795644426.3539805}]');
INSERT INTO "trial_user_attributes" VALUES(22,4,'replicate','0');
INSERT INTO "trial_user_attributes" VALUES(23,4,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(24,4,'cost','{"seconds": 80.0, "iterations": 400}');
INSERT INTO "trial_user_attributes" VALUES(25,4,'metrics','{"mIoU": 0.6984172138662026}');
INSERT INTO "trial_user_attributes" VALUES(26,4,'best_metrics','{"mIoU": 0.6984172138662026}');
INSERT INTO "trial_user_attributes" VALUES(27,4,'curve','[{"step": 20, "iteration": 80, "seconds": 16.0, "mIoU": 0.3924588996128514}, {"step": 40, "iteration": 160, "seconds": 32.0, "mIoU": 0.5549409338245458}, {"step": 60, "iteration": 240, "seconds": 48.0, "mIoU": 0.6597357631508748}, {"step": 80, "iteration": 320, "seconds": 64.0, "mIoU": 0.6942446864838079}, {"step": 100, "iteration": 400, "seconds": 80.0, "mIoU": 0.6984172138662026}]');
INSERT INTO "trial_user_attributes" VALUES(28,4,'history','[{"worker": "host:13044:b5402394", "attempt": 1, "ended": "complete", "token": "ef45ca06f02989ad", "at": 1795644426.5310063}]');
INSERT INTO "trial_user_attributes" VALUES(29,5,'replicate','0');
INSERT INTO "trial_user_attributes" VALUES(30,5,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(31,5,'cost','{"seconds": 40.0, "iterations": 200}');
INSERT INTO "trial_user_attributes" VALUES(32,5,'metrics','{"mIoU": 0.6694415594006781}');
INSERT INTO "trial_user_attributes" VALUES(33,5,'best_metrics','{"mIoU": 0.6694415594006781}');
INSERT INTO "trial_user_attributes" VALUES(34,5,'curve','[{"step": 20, "iteration": 40, "seconds": 8.0, "mIoU": 0.3807463227927989}, {"step": 40, "iteration": 80, "seconds": 16.0, "mIoU": 0.5442860025620232}, {"step": 60, "iteration": 120, "seconds": 24.0, "mIoU": 0.6266991871712015}, {"step": 80, "iteration": 160, "seconds": 32.0, "mIoU": 0.6556248240659547}, {"step": 100, "iteration": 200, "seconds": 40.0, "mIoU": 0.6694415594006781}]');
INSERT INTO "trial_user_attributes" VALUES(35,5,'history','[{"worker": "host:13492:c5a87e1f", "attempt": 1, "ended": "complete", "token": "7bd0cb9686418b24", "at": 1795644429.3740005}]');
INSERT INTO "trial_user_attributes" VALUES(36,6,'replicate','0');
INSERT INTO "trial_user_attributes" VALUES(37,6,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(38,6,'cost','{"seconds": 80.0, "iterations": 400}');
INSERT INTO "trial_user_attributes" VALUES(39,6,'metrics','{"mIoU": 0.6688666974566919}');
INSERT INTO "trial_user_attributes" VALUES(40,6,'best_metrics','{"mIoU": 0.6688666974566919}');
INSERT INTO "trial_user_attributes" VALUES(41,6,'curve','[{"step": 20, "iteration": 80, "seconds": 16.0, "mIoU": 0.36228560969527057}, {"step": 40, "iteration": 160, "seconds": 32.0, "mIoU": 0.5484955593796152}, {"step": 60, "iteration": 240, "seconds": 48.0, "mIoU": 0.6393486785242172}, {"step": 80, "iteration": 320, "seconds": 64.0, "mIoU": 0.6652362207382284}, {"step": 100, "iteration": 400, "seconds": 80.0, "mIoU": 0.6688666974566919}]');
INSERT INTO "trial_user_attributes" VALUES(42,6,'history','[{"worker": "host:13492:c5a87e1f", "attempt": 1, "ended": "complete", "token": "3ad08a0cabcd82b6", "at": 1795644429.462996}]');
INSERT INTO "trial_user_attributes" VALUES(43,7,'replicate','0');
INSERT INTO "trial_user_attributes" VALUES(44,7,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(45,7,'cost','{"seconds": 40.0, "iterations": 200}');
INSERT INTO "trial_user_attributes" VALUES(46,7,'metrics','{"mIoU": 0.7541652116458551}');
INSERT INTO "trial_user_attributes" VALUES(47,7,'best_metrics','{"mIoU": 0.7541652116458551}');
INSERT INTO "trial_user_attributes" VALUES(48,7,'curve','[{"step": 20, "iteration": 40, "seconds": 8.0, "mIoU": 0.395490315962137}, {"step": 40, "iteration": 80, "seconds": 16.0, "mIoU": 0.6200754343635504}, {"step": 60, "iteration": 120, "seconds": 24.0, "mIoU": 0.7119275862300579}, {"step": 80, "iteration": 160, "seconds": 32.0, "mIoU": 0.745286083288713}, {"step": 100, "iteration": 200, "seconds": 40.0, "mIoU": 0.7541652116458551}]');
INSERT INTO "trial_user_attributes" VALUES(49,7,'history','[{"worker": "host:13492:c5a87e1f", "attempt": 1, "ended": "complete", "token": "61b708ea3a97265e", "at": 1795644429.5280128}]');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,6.31900562434982271398e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,7.02901218592899335035e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,6.64473420762144328932e-01,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,6.98417213866202590821e-01,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,6.69441559400678065649e-01,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,6.68866697456691916556e-01,'FINITE');
INSERT INTO "trial_values" VALUES(7,7,0,7.54165211645855149136e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 22:07:05.907982','2026-11-25 22:07:06.046756');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-25 22:07:06.090869','2026-11-25 22:07:06.214234');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-25 22:07:06.239898','2026-11-25 22:07:06.356271');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-25 22:07:06.386986','2026-11-25 22:07:06.532705');
INSERT INTO "trials" VALUES(5,0,2,'COMPLETE','2026-11-25 22:07:09.262464','2026-11-25 22:07:09.376068');
INSERT INTO "trials" VALUES(6,1,2,'COMPLETE','2026-11-25 22:07:09.398889','2026-11-25 22:07:09.464584');
INSERT INTO "trials" VALUES(7,2,2,'COMPLETE','2026-11-25 22:07:09.477939','2026-11-25 22:07:09.528979');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
CREATE INDEX ix_mmtuna_leases_study_id ON mmtuna_leases (study_id);
CREATE INDEX ix_mmtuna_workers_study_id ON mmtuna_workers (study_id);
COMMIT;